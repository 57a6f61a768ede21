"""The configuration page is what the schema says."""

from workflow_scripts.workflow.tools.reference_page import page


def test_the_configuration_page_is_current(root):
    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), (
        "run: python -m workflow_scripts.workflow.tools.reference_page --output docs/configuration.md"
    )
