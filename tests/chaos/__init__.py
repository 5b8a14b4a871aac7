"""Chaos: a cluster of real processes does real work while a seeded agent kills, stops and cuts off nodes."""
