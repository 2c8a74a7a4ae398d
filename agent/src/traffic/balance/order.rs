//! Which endpoints a hash has met already.

/// Indices below a bound; the first of them costs no memory, since mostly there is no second.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    first: Option<usize>,
    rest: Vec<u64>,
}

impl Seen {
    /// Whether this is the first time.
    pub(super) fn insert(&mut self, index: usize, bound: usize) -> bool {
        let Some(first) = self.first else {
            self.first = Some(index);
            return true;
        };
        if first == index {
            return false;
        }
        if self.rest.is_empty() {
            self.rest = vec![0; bound.div_ceil(64)];
        }
        let Some(word) = self.rest.get_mut(index / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests;
