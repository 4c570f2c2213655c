//! The parsers of the contract on whatever may be written or sent; the fuzz targets assert the same properties.

#[cfg(test)]
mod policies;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod sent;
