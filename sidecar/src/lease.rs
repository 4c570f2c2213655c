//! What an open call holds, and how it is cut.
