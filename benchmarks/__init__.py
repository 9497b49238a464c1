"""Speed, behaviour, and parity with the reference."""
