throw new Error('no such model');
