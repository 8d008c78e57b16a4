//! What changes of records mean to a follower.
