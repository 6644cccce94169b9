"""`stretto …`: one module a verb, thin. A verb's module is imported only when that verb runs (see cli.main)."""
