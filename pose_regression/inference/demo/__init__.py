"""The demo's page: photographs in the browser, the people in them, and what the network made of each."""
