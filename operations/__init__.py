"""The Python behind ./stack: verbs that check first, then run docker and apt through one layer, `execute`."""
