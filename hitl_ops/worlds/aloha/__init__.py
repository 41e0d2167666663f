"""gym-aloha's two tasks, which others report results on, as a world of ours."""
