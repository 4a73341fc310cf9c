"""What the demo's page is made of: its parts as HTML, its style and script, and the guard at its door."""
