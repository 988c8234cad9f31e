"""The same networks in each library, one file a library. Only a worker imports them."""
