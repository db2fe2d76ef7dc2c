//! One loop and one transformer continue every kind of token.
