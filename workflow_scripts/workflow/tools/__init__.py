"""Programs around a run: check, doctor, unlock, profiles and generated pages."""
