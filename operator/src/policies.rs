//! Whether the admission policies that guard injected pods stand unaltered.
