"""A canned chain, whole process: `rimetree run` of K per scan, G per slot and B per channel, corrected data written.

Wall time, processor time and peak memory with warm caches, against ALAKAZAM with ceres (K, B and G on 28 x 120 x 128: 25
processor s, measured with its authors' code; ALAKAZAM.md) and against two columns of data plus 500 MB. CASA took 9.2 s, 11 s of
processor, on half of the channels (PEERS.md).
"""

from __future__ import annotations

import sys

from common import gains_set, options, process, table, verdict

ALAKAZAM = 25.0
"""Processor time in s."""

CHAIN = """
solve:
  - {{ms: {ms}, output: {output}, jones: [K, G, B], time_interval: [scan, 1slot, inf], freq_interval: [full, full, 1chan]{joint}}}
apply:
  - {{ms: {ms}, jones: [K0, G0, B0], tables: {output}}}
"""


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        antennas, slots, channels = (8, 20, 16) if given.smoke else (28, 120, 128)
        path = gains_set(given.folder, antennas, slots, channels)
        column = antennas * (antennas - 1) / 2 * slots * channels * 4 * 8 / 1e6
        rows = []
        for name, joint in (("one after another", ""), ("then together", ", joint: [K, G, B]")):
            file, output = given.folder / "chain.yaml", given.folder / "chain.h5"
            file.write_text(CHAIN.format(ms=path, output=output, joint=joint))
            command = [sys.executable, "-m", "rimetree", "run", str(file), "--overwrite"]
            tries = [process(command) for _ in range(1 if given.smoke else 3)]
            rows.append([name, *min(tries)])
        table(
            f"K, G, B and apply, {antennas} x {slots} x {channels}", ["chain", "wall s", "processor s", "peak MB"], rows
        )
        _, _, processor, memory = rows[0]
        print(f"  processor time / that of ALAKAZAM: {processor / ALAKAZAM:.2f}, {verdict(processor / ALAKAZAM, 0.2)}")
        print(
            f"  memory / (2 columns + 500 MB): {memory / (2 * column + 500):.2f}, {verdict(memory / (2 * column + 500), 1)}"
        )


if __name__ == "__main__":
    main()
