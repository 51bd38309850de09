"""From a scan to the array that the network sees, and from the network's output back to the scan's own grid."""
