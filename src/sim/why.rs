//! When a failure became inevitable: a run is continued otherwise from successive moments, and it is counted how many of
//! the continuations fail in the same way.
//!
//! Up to a moment a continuation is exactly the run; from there on all chance is other ([`Turn`]). Early on, a failure
//! that needs a coincidence is rare among them; once its cause has happened, all fail. A first grid of moments gives the
//! curve, halving finds the step in it.
//!
//! Knows runs only by what they are asked: a [`Turn`], and whether the run that takes it fails.

use super::chance::Turn;
use std::fmt::Write;
use std::time::Duration;

/// How much to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Moments of the first grid.
    pub moments: u32,
    /// Further ones, by which the step is found.
    pub halvings: u32,
    /// Continuations from each moment.
    pub continuations: u32,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { moments: 12, halvings: 8, continuations: 6 }
    }
}

/// What became of the continuations from one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub at: Duration,
    pub failing: u32,
    pub of: u32,
}

impl Point {
    fn all_fail(&self) -> bool {
        self.failing == self.of
    }
}

/// The share of failing continuations over the time of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// In the order of their moments.
    pub points: Vec<Point>,
    /// When the run's story was over.
    pub end: Duration,
}

/// Asks for continuations of a failing run whose story lasted until `end`. `ask` gets the turns of one moment and says
/// which of the runs fail in the same way.
pub fn explore(end: Duration, effort: Effort, ask: &mut dyn FnMut(&[Turn]) -> Vec<bool>) -> Curve {
    let mut curve = Curve { points: Vec::new(), end };
    for number in 0..effort.moments {
        curve.add(end * number / effort.moments.max(1), effort.continuations, ask);
    }
    for _ in 0..effort.halvings {
        let (before, from) = curve.step();
        let middle = (before + from) / 2;
        if middle == before || from == Duration::ZERO {
            break;
        }
        curve.add(middle, effort.continuations, ask);
    }
    curve
}

impl Curve {
    fn add(&mut self, at: Duration, continuations: u32, ask: &mut dyn FnMut(&[Turn]) -> Vec<bool>) {
        let turns: Vec<Turn> = (1..=continuations.into()).map(|salt| Turn { at, salt }).collect();
        let failing = ask(&turns).into_iter().filter(|fails| *fails).count() as u32;
        let place = self.points.partition_point(|point| point.at < at);
        self.points.insert(place, Point { at, failing, of: continuations });
    }

    /// The last moment from which some continuation was well, and the first after it: from there on all fail. Both are zero
    /// if all continuations fail.
    pub fn step(&self) -> (Duration, Duration) {
        let escapes = self.points.iter().rposition(|point| !point.all_fail());
        let Some(last) = escapes else { return (Duration::ZERO, Duration::ZERO) };
        let from = self.points.get(last + 1).map_or(self.end, |point| point.at);
        (self.points[last].at, from)
    }

    /// What there is to say of it, in a sentence.
    pub fn sentence(&self) -> String {
        let (before, from) = self.step();
        let rare = self.points.first().map_or(String::new(), |point| {
            format!("{} of {} runs with other chance from the beginning fail, too", point.failing, point.of)
        });
        if from == Duration::ZERO {
            return format!("inevitable from the beginning: chance plays no part in it ({rare})");
        }
        format!("inevitable from {} s on ({rare}; some are still well from {} s on)", seconds(from), seconds(before))
    }

    /// One bar a moment.
    pub fn text(&self) -> String {
        let mut text = String::from("share of continuations that fail, by the moment from which chance is other:\n");
        let (_, from) = self.step();
        for point in &self.points {
            let full = BAR * point.failing as usize / point.of.max(1) as usize;
            let bar: String = "█".repeat(full) + &"·".repeat(BAR - full);
            let mark = if point.at == from { "  <- from here on" } else { "" };
            let _ = writeln!(text, "{:>9} s  {bar}  {}/{}{mark}", seconds(point.at), point.failing, point.of);
        }
        text
    }

    /// The same as a picture: time to the right, the share upwards, a red line where the failure became inevitable.
    pub fn svg(&self, title: &str) -> String {
        let end = self.end.as_secs_f64().max(1e-9);
        let x = |at: Duration| LEFT + WIDE * (at.as_secs_f64() / end).min(1.0);
        let y = |point: &Point| TOP + HIGH * (1.0 - f64::from(point.failing) / f64::from(point.of.max(1)));
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"14\">{title}</text>\n<text x=\"{LEFT}\" y=\"30\">{}</text>\n",
            LEFT + WIDE + 30.0,
            TOP + HIGH + 50.0,
            self.sentence()
        );
        for (share, word) in [(0.0, "100 %"), (0.5, "50 %"), (1.0, "0 %")] {
            let y = TOP + HIGH * share;
            let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#ddd\"/>", LEFT + WIDE);
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{word}</text>", LEFT - 6.0, y + 4.0);
        }
        let line: Vec<String> = self.points.iter().map(|point| format!("{:.1},{:.1}", x(point.at), y(point))).collect();
        let _ =
            writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#36c\" stroke-width=\"2\"/>", line.join(" "));
        for point in &self.points {
            let (cx, cy) = (x(point.at), y(point));
            let _ = writeln!(
                svg,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"#36c\"><title>{} s: {}/{}</title></circle>",
                seconds(point.at),
                point.failing,
                point.of
            );
        }
        let (_, from) = self.step();
        let (at, bottom) = (x(from), TOP + HIGH);
        let _ = writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#c22\"/>");
        for tenth in 0..=10_u32 {
            let at = self.end * tenth / 10;
            let label = format!("{:.1}", at.as_secs_f64());
            let _ =
                writeln!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", x(at), bottom + 18.0);
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">simulated seconds</text>\n</svg>",
            LEFT + WIDE / 2.0,
            bottom + 38.0
        );
        svg
    }
}

/// To the millisecond, which is finer than halving gets.
fn seconds(at: Duration) -> String {
    format!("{:.3}", at.as_secs_f64())
}

/// Characters of a full bar.
const BAR: usize = 40;

/// Of the picture, in pixels.
const LEFT: f64 = 60.0;
const TOP: f64 = 36.0;
const WIDE: f64 = 800.0;
const HIGH: f64 = 160.0;

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(10);

    /// A run whose cause lies at second 4.2: before it, one continuation in three fails all the same.
    fn curve() -> Curve {
        explore(END, Effort::default(), &mut |turns| {
            turns.iter().map(|turn| turn.at >= Duration::from_millis(4_200) || turn.salt % 3 == 0).collect()
        })
    }

    #[test]
    fn the_step_is_found_by_halving() {
        let curve = curve();
        let (before, from) = curve.step();
        assert!(before < Duration::from_millis(4_200) && from >= Duration::from_millis(4_200));
        assert!(from - before < Duration::from_millis(4), "{before:?} {from:?}");
        assert_eq!(curve.points.len(), 20);
        assert!(curve.sentence().starts_with("inevitable from 4.20"), "{}", curve.sentence());
    }

    #[test]
    fn the_plot_has_a_bar_for_each_moment_and_marks_the_step() {
        let text = curve().text();
        assert_eq!(text.lines().count(), 21);
        assert!(text.contains("0.000 s  █████████████···························  2/6"), "{text}");
        assert_eq!(text.matches("<- from here on").count(), 1);
        let svg = curve().svg("a < b");
        assert_eq!(svg.matches("<circle").count(), 20);
        assert!(svg.contains(">a &lt; b</text>") && svg.contains(">inevitable from"), "{svg}");
    }

    #[test]
    fn what_chance_has_no_part_in_is_inevitable_from_the_beginning() {
        let always = explore(END, Effort::default(), &mut |turns| vec![true; turns.len()]);
        assert_eq!((always.step(), always.points.len()), ((Duration::ZERO, Duration::ZERO), 12));
        assert!(always.sentence().starts_with("inevitable from the beginning"));
        let rarely = explore(END, Effort { halvings: 3, ..Effort::default() }, &mut |turns| vec![false; turns.len()]);
        assert_eq!(rarely.step().1, END);
    }
}
