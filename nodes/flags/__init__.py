"""Flags: words of 32 bits that every value carries, 0 is good; made here, joined (OR) by all other classes.

A Spigot brings bit 1 where the Measurement Set says bad. Flagged data do not enter a solve (`Condeq`), nor what a `Mean` and its
like make of many cells; a `Sink` writes flags where asked. Each of these has a `flag_mask`: the bits that count for it.
"""
