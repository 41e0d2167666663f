"""The second page: plays looked at again, decision by decision, and corrected."""
