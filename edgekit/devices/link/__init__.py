"""What transports are made of: a shell on the device, a tape that records every exchange with it, trials over a worker."""
