"""How figures look: axes, panels, style, files."""
