"""Coordinates: where antennas, sources and the Earth are, and angles and projections that follow.

Directions are J2000 right ascension and declination in rad, taken as ICRS (they differ by 0.02"). Times are UTC in MJD s, as
in the TIME column. Positions are ITRF in m. Earth, PhaseCentre, Position, ArrayCentre, Mount, SiderealTime and
ObjectRaDec are looked up on the host, once per tile, by ERFA and astropy from the Earth orientation that is installed with
them: nothing is downloaded. All else is formulas on these, differentiated exactly.
"""
