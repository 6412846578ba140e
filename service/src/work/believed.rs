//! Which events of a change workers read. All that workers and the door for approvals have said; of what anybody else may publish only so much, so that nobody
//! stops a change by publishing more into it than can be read.
//!
//! What is over the bound is left out of the middle: what stood there before a flood is read, and what comes behind it.

use schemas::ids::Producer;

use pipeline::work::own;

/// Bytes and number of events that are read of those by whoever may publish.
const OTHERS: Bound = Bound { bytes: 16 << 20, count: 8_192 };
/// The same of requests and orders: they come in by doors that anybody may use, and no flood of other events hides one.
const ASKED: Bound = Bound { bytes: 8 << 20, count: 1_024 };

/// An event of a change, before its payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its entry.
    pub index: u64,
    /// Bytes of its payload.
    pub bytes: u64,
    /// Who it is by.
    pub by: By,
}

/// Who an event is by, as its subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A worker, or the door for approvals.
    Us,
    /// The doors for requests and orders.
    Asked,
    /// Somebody else, or nobody who is named.
    Others,
}

impl By {
    /// By the producer of its subject.
    pub fn of(producer: Option<&Producer>) -> Self {
        match producer.map(Producer::as_str) {
            Some(own::REQUEST | own::ORDERS) => Self::Asked,
            Some(name) if own::PRODUCERS.contains(&name) => Self::Us,
            _ => Self::Others,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes: u64,
    count: usize,
}

/// Those that are read, in order.
pub fn read(all: &[Known]) -> Vec<Known> {
    let of = |by: By| all.iter().copied().filter(move |known| known.by == by);
    let mut read: Vec<Known> = of(By::Us).collect();
    read.extend(within(&of(By::Asked).collect::<Vec<_>>(), ASKED));
    read.extend(within(&of(By::Others).collect::<Vec<_>>(), OTHERS));
    read.sort_unstable_by_key(|known| known.index);
    read
}

/// All of them where they are within the bound, else from both ends, half of it each.
fn within(all: &[Known], bound: Bound) -> Vec<Known> {
    if all.len() <= bound.count && all.iter().map(|known| known.bytes).sum::<u64>() <= bound.bytes {
        return all.to_vec();
    }
    let mut oldest = 0;
    let mut left = Bound { bytes: bound.bytes / 2, count: bound.count / 2 };
    while oldest < all.len() && left.takes(all[oldest].bytes) {
        oldest += 1;
    }
    let mut newest = all.len();
    let mut left = Bound { bytes: bound.bytes / 2, count: bound.count / 2 };
    while newest > oldest && left.takes(all[newest - 1].bytes) {
        newest -= 1;
    }
    [&all[..oldest], &all[newest..]].concat()
}

impl Bound {
    fn takes(&mut self, bytes: u64) -> bool {
        if self.count == 0 || self.bytes < bytes {
            return false;
        }
        self.count -= 1;
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(index: u64, bytes: u64, by: By) -> Known {
        Known { index, bytes, by }
    }

    #[test]
    fn a_flood_is_left_out_of_the_middle_and_ours_never() {
        let mut all = vec![known(0, 500, By::Asked), known(1, 4_000, By::Us), known(2, 300, By::Others)];
        assert_eq!(read(&all), all, "what fits is read whole");
        all.extend((3..103).map(|index| known(index, 1 << 20, By::Others)));
        all.extend([known(103, 4_000, By::Us), known(104, 200, By::Others), known(105, 500, By::Asked)]);
        let read = read(&all);
        let indices: Vec<u64> = read.iter().map(|known| known.index).collect();
        // Eight MiB from each end, less what stands there already.
        let expect: Vec<u64> = (0..10).chain(96..106).collect();
        assert_eq!(indices, expect);
        assert!(read.iter().map(|known| known.bytes).sum::<u64>() <= 17 << 20);
    }

    #[test]
    fn many_small_ones_are_bounded_too() {
        let all: Vec<Known> = (0..100_000).map(|index| known(index, 10, By::Others)).collect();
        let read = read(&all);
        assert_eq!((read.len(), read[4_095].index, read[4_096].index), (8_192, 4_095, 95_904));
    }

    #[test]
    fn names_say_who_it_is_by() {
        let of = |name: &str| By::of(Some(&Producer::parse(name).unwrap()));
        assert_eq!((of("execute"), of("approvals"), of("request"), of("ci")), (By::Us, By::Us, By::Asked, By::Others));
        assert_eq!(By::of(None), By::Others);
    }
}
