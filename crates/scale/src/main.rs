//! `holon-scale`: measures one size, or all of them and writes the document.

use holon_scale::gossip;
use holon_scale::process;
use holon_scale::world::Sharing;

fn main() {
    let nodes: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let sharing = if nodes <= 1_000 { Sharing::Full } else { Sharing::Shared };
    let mut figures = gossip::measure(1, nodes, sharing, gossip::trials(nodes)).unwrap();
    if nodes <= 1000 {
        gossip::cold_start(1, nodes, &mut figures).unwrap();
    }
    figures.set("cpu_seconds", process::cpu_seconds());
    figures.set("resident_max", process::resident_bytes_max() as f64);
    print!("{}", figures.to_lines());
}
