"""The zip that `make plugin` writes: complete, and free of what belongs to whoever built it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).parents[2]
SECRETS = ("jane", "s3cr3t", "t0ken")
PUBLIC = "https://git.example.com/team/plugin.git"


@pytest.mark.parametrize(
    ("remote", "recorded"),
    [
        (PUBLIC, PUBLIC),
        ("https://jane@git.example.com/team/plugin.git", PUBLIC),
        ("https://jane:s3cr3t@git.example.com/team/plugin.git", PUBLIC),
        ("https://jane:s3cr3t@t0ken@git.example.com/team/plugin.git", PUBLIC),
        ("https://:t0ken@git.example.com/team/plugin.git?private_token=t0ken#s3cr3t", PUBLIC),
        ("https://jane:s3cr3t@git.example.com:8443", "https://git.example.com:8443"),
        ("ssh://jane@git.example.com:22/team/plugin.git", "ssh://git.example.com:22/team/plugin.git"),
        ("jane@git.example.com:team/plugin.git", "ssh://git.example.com/team/plugin.git"),
        ('https://git.example.com/team/"t0ken', "https://git.example.com/team/"),
        ("/home/jane/plugin", ""),
        ("file:///home/jane/plugin", ""),
        ("", ""),
    ],
)
def test_the_zip_names_the_remote_without_its_credentials(tmp_path: Path, remote: str, recorded: str) -> None:
    archive = _built_from_a_clone(tmp_path, remote)
    assert json.loads(archive.read("release_info.json"))["remote_url"] == recorded
    everything = b"".join([archive.comment, *(archive.read(name) for name in archive.namelist())])
    assert not [secret for secret in SECRETS if secret.encode() in everything]


def _built_from_a_clone(folder: Path, remote: str) -> zipfile.ZipFile:
    """A repository with one plugin.json, and the zip that this project's Makefile makes of it."""
    (folder / "plugin.json").write_text('{\n  "version": "1.0.0",\n}\n')
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (folder / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "Start"]):
        run(["git", *command], cwd=folder, check=True)
    if remote:
        run(["git", "remote", "add", "origin", remote], cwd=folder, check=True)
    built = run(["make", "-s", "plugin"], cwd=folder, check=True, capture_output=True, text=True)
    return zipfile.ZipFile(folder / built.stdout.strip().splitlines()[-1])
