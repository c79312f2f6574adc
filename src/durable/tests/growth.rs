use super::*;

const LIVE: u32 = 10_000;
const CHANGES: u32 = 1_000_000;

/// Puts and removes over a window of live keys, as sessions come and go.
#[tokio::test]
async fn the_file_stays_small_however_much_comes_and_goes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let durable = open(&path).unwrap();
    let mut largest = 0;
    for change in 0..CHANGES / 2 {
        let _ = durable.put(Table::Sessions, &change.to_be_bytes(), Some(&[7; 100]));
        let last = durable.put(Table::Sessions, &change.wrapping_sub(LIVE).to_be_bytes(), None);
        if change % 1000 == 0 {
            durable.settled(last).await.unwrap();
            largest = largest.max(std::fs::metadata(&path).unwrap().len());
        }
    }
    durable.close(BOUND).await.unwrap();
    eprintln!("largest {largest}, closed {}", std::fs::metadata(&path).unwrap().len());
    let durable = open(&path).unwrap();
    assert_eq!(entries(&durable, Table::Sessions).len(), LIVE as usize);
    eprintln!("opened {}", std::fs::metadata(&path).unwrap().len());
}
