"""Template, style and script of `report.html`."""
