//! Finds cycles, the worst kind first.

use super::components::components;
use super::graph::{Edge, Graph, Reason};
use super::level::{Cycle, Level, Scope};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// So many places are looked at in search of the shortest cycle of one component.
pub const SEARCH_STEPS_MAX: usize = 2_000_000;

/// Each is a list of edges of the graph, the end of one being the beginning of the next.
///
/// One cycle for each component of the narrowest scope and the worst class that has any; wider components with one of its
/// transactions in them are left out: there will be more to find when that cycle is gone.
pub fn find(graph: &Graph, level: Level) -> Vec<Vec<usize>> {
    let mut found = vec![];
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    for scope in [Scope::Data, Scope::Process, Scope::Realtime].into_iter().filter(|scope| *scope <= level.scope()) {
        // The search for those without two `rw` in succession finds both kinds, and prefers few `rw`.
        for class in [Cycle::G0, Cycle::G1c, Cycle::GNonadjacent, Cycle::G2Item] {
            if !level.looks_for(class) {
                continue;
            }
            let search = Search { graph, class, scope };
            for component in components(2 * graph.outgoing.len(), |place| search.hops(place).map(|(to, _)| to)) {
                if component.iter().all(|place| !taken.contains(&node(*place))) {
                    let cycle = search.shortest(&component);
                    taken.extend(cycle.iter().map(|edge| graph.edges[*edge].from));
                    found.push(cycle);
                }
            }
        }
    }
    found
}

/// A place is a node and how it was come to: behind an `rw` edge there may be no other, where two in succession are not looked for.
fn place(node: usize, behind_rw: bool) -> usize {
    2 * node + usize::from(behind_rw)
}

fn node(place: usize) -> usize {
    place / 2
}

/// The graph as far as a class of cycles may use it.
struct Search<'a> {
    graph: &'a Graph,
    class: Cycle,
    scope: Scope,
}

/// The number of `rw` edges, then that of all.
type Length = (u32, u32);

impl<'a> Search<'a> {
    /// Where edges lead from a place, and which.
    fn hops(&self, from: usize) -> impl Iterator<Item = (usize, usize)> + 'a {
        let (graph, class, scope) = (self.graph, self.class, self.scope);
        let behind_rw = from != place(node(from), false);
        graph.outgoing[node(from)].iter().filter_map(move |index| {
            let Edge { reason, to, .. } = graph.edges[*index];
            let allowed = match reason {
                Reason::Ww { .. } => true,
                Reason::Wr { .. } => class >= Cycle::G1c,
                Reason::Rw { .. } => class == Cycle::G2Item || class == Cycle::GNonadjacent && !behind_rw,
                Reason::Process => scope >= Scope::Process,
                Reason::Realtime | Reason::Onward => scope >= Scope::Realtime,
            };
            let apart = class == Cycle::GNonadjacent && reason.is_rw();
            allowed.then_some((place(to, apart), *index))
        })
    }

    /// A cycle with as few `rw` edges as possible, and of those one of the shortest.
    fn shortest(&self, component: &[usize]) -> Vec<usize> {
        let mut best: Option<(Length, Vec<usize>)> = None;
        let mut steps = 0;
        for (start, _) in component.iter().enumerate().filter(|(_, place)| node(**place) < self.graph.transactions) {
            let limit = best.as_ref().map_or((u32::MAX, u32::MAX), |(length, _)| *length);
            best = self.round(component, start, limit, &mut steps).or(best);
            if steps > SEARCH_STEPS_MAX {
                break;
            }
        }
        best.expect("in a component every place is on a cycle, and no cycle has only moments: time does not turn back")
            .1
    }

    /// The shortest cycle through one place of the component, if it is shorter than `limit`: Dijkstra's algorithm.
    fn round(
        &self,
        component: &[usize],
        start: usize,
        limit: Length,
        steps: &mut usize,
    ) -> Option<(Length, Vec<usize>)> {
        let mut reached: Vec<Option<Step>> = vec![None; component.len()];
        let mut queue = BinaryHeap::from([Reverse(((0, 0), start))]);
        let mut closed: Option<Step> = None;
        *steps += component.len();
        while let Some(Reverse((length, at))) = queue.pop() {
            if length >= closed.map_or(limit, |step| step.length) {
                break;
            }
            if reached[at].is_some_and(|step| step.length < length) {
                continue;
            }
            for (to, edge) in self.hops(component[at]) {
                *steps += 1;
                let Ok(to) = component.binary_search(&to) else { continue };
                let step = Step { length: longer(length, self.graph.edges[edge].reason), edge, from: at };
                if to == start {
                    if step.length < closed.map_or(limit, |step| step.length) {
                        closed = Some(step);
                    }
                } else if reached[to].is_none_or(|known| step.length < known.length) {
                    reached[to] = Some(step);
                    queue.push(Reverse((step.length, to)));
                }
            }
        }
        let mut step = closed?;
        let (length, mut cycle) = (step.length, vec![step.edge]);
        while step.from != start {
            step = reached[step.from].expect("every place on the way has been reached");
            cycle.push(step.edge);
        }
        cycle.reverse();
        Some((length, cycle))
    }
}

/// How a place was reached: how far it is, by which edge, from which place.
#[derive(Clone, Copy)]
struct Step {
    length: Length,
    edge: usize,
    from: usize,
}

/// From moment to moment is no distance: the way from one transaction to another through time counts once.
fn longer((rw, all): Length, reason: Reason) -> Length {
    match reason {
        Reason::Rw { .. } => (rw + 1, all + 1),
        Reason::Onward => (rw, all),
        _ => (rw, all + 1),
    }
}

/// The class of a cycle and what it needs, by its edges.
pub fn classify(graph: &Graph, cycle: &[usize]) -> (Cycle, Scope) {
    let reasons: Vec<Reason> = cycle.iter().map(|edge| graph.edges[*edge].reason).collect();
    let rw = reasons.iter().filter(|reason| reason.is_rw()).count();
    let in_succession = (0..reasons.len()).any(|at| reasons[at].is_rw() && reasons[(at + 1) % reasons.len()].is_rw());
    let class = match rw {
        0 if reasons.iter().any(|reason| matches!(reason, Reason::Wr { .. })) => Cycle::G1c,
        0 => Cycle::G0,
        1 => Cycle::GSingle,
        _ if in_succession => Cycle::G2Item,
        _ => Cycle::GNonadjacent,
    };
    let scope = if reasons.contains(&Reason::Realtime) {
        Scope::Realtime
    } else if reasons.contains(&Reason::Process) {
        Scope::Process
    } else {
        Scope::Data
    };
    (class, scope)
}
