"""What servers say: read for its reason, made safe to show, and masked where it quotes a user or a credential."""
