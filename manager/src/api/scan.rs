//! Lists of which only some items are wanted.
//!
//! The store knows no conditions, so items are looked at in the order of their ids, so many at most for
//! one request. A page may therefore hold fewer items than were asked for, or none, and yet name a next
//! one.

use crate::limits;

/// A page in the making.
pub(super) struct Scan<T> {
    limit: usize,
    looked_at: usize,
    is_over: bool,
    items: Vec<T>,
    /// The item looked at last.
    last: Option<String>,
    next: Option<String>,
}

impl<T> Scan<T> {
    /// For up to `limit` items.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            looked_at: 0,
            is_over: false,
            items: Vec::new(),
            last: None,
            next: None,
        }
    }

    /// How many items to ask the store for next; `None`: the page is complete.
    pub(super) fn wants(&self, is_filtered: bool) -> Option<usize> {
        // One more than is wanted tells whether there is another page.
        let chunk = if is_filtered {
            limits::MAX_PAGE
        } else {
            self.limit + 1
        };
        (!self.is_over).then_some(chunk)
    }

    /// Takes in what the store gave when it was asked for `asked` items, each with its id and whether
    /// it is wanted.
    pub(super) fn take(
        &mut self,
        asked: usize,
        chunk: impl IntoIterator<Item = (String, bool, T)>,
    ) {
        let mut given = 0;
        for (id, is_wanted, item) in chunk {
            given += 1;
            if is_wanted && self.items.len() == self.limit {
                self.is_over = true;
                self.next = self.last.take();
                return;
            }
            if is_wanted {
                self.items.push(item);
            }
            self.last = Some(id);
        }
        self.looked_at += given;
        self.is_over = given < asked;
        if !self.is_over && self.looked_at >= limits::MAX_SCAN {
            self.is_over = true;
            self.next = self.last.take();
        }
    }

    /// Nothing that is wanted comes behind what was taken in.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// The items, and behind which id the next page begins.
    pub(super) fn finish(self) -> (Vec<T>, Option<String>) {
        (self.items, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages through `total` numbers of which every `nth` is wanted; gives each page's items and what
    /// was looked at for it.
    fn pages(total: usize, nth: usize, limit: usize) -> Vec<(Vec<usize>, usize)> {
        let (mut pages, mut after) = (Vec::new(), 0);
        loop {
            let (mut scan, mut at) = (Scan::new(limit), after);
            while let Some(asked) = scan.wants(true) {
                let chunk = at + 1..=(at + asked).min(total);
                at = *chunk.end();
                scan.take(asked, chunk.map(|n| (n.to_string(), n % nth == 0, n)));
            }
            let looked_at = at - after;
            let (items, next) = scan.finish();
            pages.push((items, looked_at));
            match next {
                Some(next) => after = next.parse().expect("a number"),
                None => return pages,
            }
        }
    }

    #[test]
    fn every_wanted_item_is_on_one_page() {
        for (total, nth, limit) in [
            (0, 1, 5),
            (10, 1, 5),
            (11, 1, 5),
            (2_500, 7, 100),
            (30_000, 9_999, 2),
        ] {
            let wanted: Vec<usize> = (1..=total).filter(|n| n % nth == 0).collect();
            let pages = pages(total, nth, limit);
            assert!(pages.iter().all(|(items, _)| items.len() <= limit));
            assert_eq!(
                pages
                    .into_iter()
                    .flat_map(|(items, _)| items)
                    .collect::<Vec<_>>(),
                wanted
            );
        }
    }

    #[test]
    fn a_page_costs_so_much_and_no_more() {
        let pages = pages(25_000, 100_000, 5);
        assert!(pages.len() > 1);
        assert!(
            pages
                .iter()
                .all(|(_, looked_at)| *looked_at <= limits::MAX_SCAN)
        );
    }
}
