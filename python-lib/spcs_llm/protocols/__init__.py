"""One module for each protocol that services speak: our types on one side, a service's JSON on the other."""
