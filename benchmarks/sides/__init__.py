"""What runs in processes of their own (see worker.py): each function prepares a side and returns what answers questions."""
