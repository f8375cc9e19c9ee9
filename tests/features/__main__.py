"""`make features`: write docs/features.md and the README's table from `tests/features.toml`."""

from tests.features.rows import PAGE, README, page, read, table, within


def main() -> None:
    systems = read()
    PAGE.write_text(page(systems), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(within(text, table(systems)), encoding="utf-8")


if __name__ == "__main__":
    main()
