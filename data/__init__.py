"""What a photo is: where photos come from, what is known of them, and which may be compared with which."""
