"""Numbers become tables: leaderboard, declared matrices, ledger and receipts, in the words that people read."""
