"""The licences of what the lock pins, from the packages' own metadata, in SPDX's words."""

import re
from importlib.metadata import Distribution

#: Licences whose terms we can meet in an application, as a service or in an image.
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MIT-CMU"),
        "PSF-2.0",
        # Of single files: their changes stay open, ours are ours.
        "MPL-2.0",
        # A library that anyone may exchange: psycopg is installed as it is, and only imported.
        "LGPL-3.0-only",
    }
)
#: What older metadata say, in SPDX's words.
SPELLINGS = {
    "apache 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "new bsd": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
#: Packages whose metadata say nothing that can be read, after their licence files.
KNOWN = {"fal-client": "Apache-2.0", "replicate": "Apache-2.0"}
_LONGEST = 40


def licences_of(package: Distribution) -> frozenset[str]:
    """The licences of an installed package; empty if its metadata name none.

    Where it offers several by "OR", all of them are told: each has to be allowed.
    """
    name = re.sub(r"[-_.]+", "-", package.name).lower()
    if name in KNOWN:
        return frozenset({KNOWN[name]})
    if expression := _first(package, "License-Expression"):
        parts = re.split(r"\s+(?:AND|OR|WITH)\s+", expression.replace("(", "").replace(")", ""))
        return frozenset(part.strip() for part in parts)
    classified = [
        each.rpartition("::")[2].strip()
        for each in package.metadata.get_all("Classifier") or ()
        if each.startswith("License ::")
    ]
    stated = _first(package, "License").strip()
    said = classified or ([stated] if 0 < len(stated) <= _LONGEST else [])
    return frozenset(
        SPELLINGS.get(part.lower(), part) for each in said for part in re.split(r"\s+OR\s+", each)
    )


def _first(package: Distribution, field: str) -> str:
    return next(iter(package.metadata.get_all(field) or ()), "")
