"""From stored rows to knowledge: store, tables, leaderboard; the only room that knows polars."""
