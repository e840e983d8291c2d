select
    tailnum as tail_number,
    year as year_built,
    manufacturer,
    model,
    seats
from {{ source('raw', 'planes') }}
