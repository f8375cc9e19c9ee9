"""How upstreams speak: one small pure module each, and the catalogue of models as data."""
