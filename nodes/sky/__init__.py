"""Sources: fluxes, spectra, coherencies."""
