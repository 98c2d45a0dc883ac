//! Strongly connected components: Tarjan, "Depth-First Search and Linear Graph Algorithms", 1972.

/// All components of more than one place, each in ascending order, by their smallest place. `successors[place]` are the
/// places that an edge leads to. On a stack of its own: a history may be one long chain.
pub fn components<I>(places: usize, successors: impl Fn(usize) -> I) -> Vec<Vec<usize>>
where
    I: Iterator<Item = usize>,
{
    let mut search = Search {
        number: vec![UNSEEN; places],
        low: vec![0; places],
        open: vec![],
        is_open: vec![false; places],
        next: 0,
        found: vec![],
    };
    for root in 0..places {
        if search.number[root] == UNSEEN {
            search.enter(root);
            let mut path = vec![(root, successors(root))];
            while let Some((place, edges)) = path.last_mut() {
                let place = *place;
                match edges.next() {
                    Some(to) if search.number[to] == UNSEEN => {
                        search.enter(to);
                        path.push((to, successors(to)));
                    }
                    Some(to) if search.is_open[to] => search.low[place] = search.low[place].min(search.number[to]),
                    Some(_) => {}
                    None => {
                        path.pop();
                        if let Some((parent, _)) = path.last() {
                            search.low[*parent] = search.low[*parent].min(search.low[place]);
                        }
                        search.leave(place);
                    }
                }
            }
        }
    }
    search.found.sort();
    search.found
}

const UNSEEN: usize = usize::MAX;

struct Search {
    /// The order in which places were entered.
    number: Vec<usize>,
    /// The smallest number that is known to be reached from a place.
    low: Vec<usize>,
    /// Places entered whose component is not complete.
    open: Vec<usize>,
    is_open: Vec<bool>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search {
    fn enter(&mut self, place: usize) {
        (self.number[place], self.low[place]) = (self.next, self.next);
        self.next += 1;
        self.open.push(place);
        self.is_open[place] = true;
    }

    /// All edges of the place have been followed: if it is the first of its component, the component is complete.
    fn leave(&mut self, place: usize) {
        if self.low[place] != self.number[place] {
            return;
        }
        let start = self.open.iter().rposition(|open| *open == place).expect("a place is open until it is left");
        let mut members = self.open.split_off(start);
        members.iter().for_each(|member| self.is_open[*member] = false);
        if members.len() > 1 {
            members.sort_unstable();
            self.found.push(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(edges: &[&[usize]]) -> Vec<Vec<usize>> {
        components(edges.len(), |place| edges[place].iter().copied())
    }

    #[test]
    fn circles_are_told_from_what_only_leads_to_them() {
        assert_eq!(of(&[&[1], &[2], &[0, 3], &[4], &[3], &[]]), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(of(&[&[1, 2], &[3], &[3], &[]]), Vec::<Vec<usize>>::new());
        assert_eq!(of(&[&[1], &[0, 2], &[3], &[1]]), [vec![0, 1, 2, 3]]);
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let length = 200_000;
        let circle = components(length, |place| std::iter::once((place + 1) % length));
        assert_eq!(circle.len(), 1);
        assert_eq!(circle[0].len(), length);
    }
}
