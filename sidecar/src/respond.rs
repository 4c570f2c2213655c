//! Refusal or fault to response.
