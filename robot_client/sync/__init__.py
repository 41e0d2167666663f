"""How episodes reach the server: by HTTP or rsync. Either way they count once the server has verified them."""
