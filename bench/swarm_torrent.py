"""One BitTorrent peer, as a program of its own: `python -m bench.swarm_torrent make|share …`.

It says READY, waits for a line on its standard input, and says for each thing when it came to pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import libtorrent

PORT = 6881
_STEP = 0.02


def make(content: Path, torrent: Path) -> None:
    """Describe the directory `content`, in pieces of libtorrent's own choice, in the file `torrent`."""
    made = libtorrent.create_torrent(libtorrent.list_files(str(content)))
    libtorrent.set_piece_hashes(made, str(content.parent))
    torrent.write_bytes(libtorrent.bencode(made.generate()))


def share(torrent: Path, directory: Path, address: str, others: list[str]) -> None:
    """Get all of `torrent` into `directory`, and send it on to whoever asks until the input ends.

    Prints, as JSON: `done`, the monotonic clock of the machine when the last piece had been checked; then
    `sent`, bytes of pieces that went out.
    """
    session = libtorrent.session(_settings(address))
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(torrent))
    parameters.save_path = str(directory)
    handle = session.add_torrent(parameters)
    while handle.status().state in (libtorrent.torrent_status.checking_files, _CHECKING):
        time.sleep(_STEP)
    print("READY", flush=True)
    sys.stdin.readline()
    for other in others:
        handle.connect_peer((other, PORT))
    while not handle.status().is_seeding:
        time.sleep(_STEP)
    print(json.dumps({"done": time.monotonic()}), flush=True)
    sys.stdin.read()
    print(json.dumps({"sent": handle.status().total_payload_upload}), flush=True)


_CHECKING = libtorrent.torrent_status.checking_resume_data


def _settings(address: str) -> libtorrent.settings_pack:
    """Defaults, but for TCP alone, no encryption, and nobody to look for: all addresses are known."""
    return {
        "listen_interfaces": f"{address}:{PORT}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "in_enc_policy": int(libtorrent.enc_policy.pe_disabled),
        "out_enc_policy": int(libtorrent.enc_policy.pe_disabled),
        "connection_speed": 200,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.swarm_torrent", description=__doc__)
    parser.add_argument("what", choices=("make", "share"))
    parser.add_argument("torrent", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("others", nargs="*")
    given = parser.parse_args()
    if given.what == "make":
        make(given.directory, given.torrent)
    else:
        share(given.torrent, given.directory, given.address, given.others)


if __name__ == "__main__":
    main()
