"""The bounds of the histograms that engines count themselves, for both sides of the socket."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
INTER_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
