"""What can be checked by a program: answers, and the killable processes that check them."""
