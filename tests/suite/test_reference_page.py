"""The configuration page is what the schema says."""

from workflow_scripts.suite.reference import page


def test_the_configuration_page_is_current(root):
    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), (
        "run: python -m workflow_scripts.suite.reference --output docs/configuration.md"
    )
