"""Words and values of the house: no I/O, no clocks, no asyncio."""
