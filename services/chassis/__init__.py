"""What every server of the hub has: wiring without a word of business."""
