"""Trainers: orchestration only; no formula appears here."""
